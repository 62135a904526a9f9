"""Planners: profiles in, a plan out. Pure."""
