"""What Models will take and whether they fit, before anything is loaded: by the functions that the pod itself uses."""

from paddock_runtime.planning.fitting import Fit, fit
from paddock_runtime.planning.sizes import Sized, Unsized, size_up

__all__ = ["Fit", "Sized", "Unsized", "fit", "size_up"]
