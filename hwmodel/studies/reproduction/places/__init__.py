"""One module per table or group of figures; each has `lines`, which yields its lines."""
