"""Layers that Keras should not compile with XLA."""


class NoXla:
    """For layers that call a compiled op (`kdet.ops`): XLA has no kernels of these.

    Keras asks every layer of a model for ``supports_jit`` before it turns XLA on by itself. Where XLA is
    asked for explicitly, the ops take their portable form, which on CPUs is slower. Whether a detector as a
    whole can be compiled so says its own ``supports_jit``.
    """

    # a property, since Keras' constructors set the attribute to True
    supports_jit = property(lambda self: False, lambda self, _: None)
