"""A request on its way: held, sent to a pod, sent again where that is allowed, its answer handed on."""
