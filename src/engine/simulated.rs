//! The engine `simulated`: starts the simulated vLLM in this process, on a free
//! loopback port, so that the whole HTTP path is real. What it simulates is in
//! [`crate::simulator`].
