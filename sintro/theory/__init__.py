"""The equilibrium of Soft-IntroVAE, exactly: a discrete data space, distributions as numbers, no neural network.

``game`` derives and solves the players' best responses, ``play`` lets them answer each other, ``prior`` adds the
learned prior as third player, ``experiment`` runs it all and judges what the papers say of it.
"""
