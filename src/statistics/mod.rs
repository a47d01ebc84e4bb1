//! Statistics under few launches: intervals, variance components, ties. Pure.
