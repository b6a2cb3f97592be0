from hypothesis import settings

# First calls compile kernels and load PyTorch; that says nothing about the case.
settings.register_profile("hwmodel", deadline=None)
settings.load_profile("hwmodel")
