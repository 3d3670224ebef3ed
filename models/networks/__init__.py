"""Networks. One file, one network: ``build(size, channels, label_dim, augment_dim, **options)``.

A network is the raw F, a module called as ``F(x, c_noise, labels, augment_labels)``; the
preconditioning around it is ``models.denoiser.Denoiser``.
"""
