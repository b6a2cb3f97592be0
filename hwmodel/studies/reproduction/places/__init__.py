"""A module a table or group of figures: each has `lines`, which yields its lines."""
