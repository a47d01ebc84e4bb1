//! What a sweep means: the frame (the only column schema) and the ranking.
