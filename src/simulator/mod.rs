//! A vLLM-compatible server with a cost model instead of a GPU; knows only [`crate::flags`].
