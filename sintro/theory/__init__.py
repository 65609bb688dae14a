"""The exact equilibrium of Soft-IntroVAE on a discrete data space: distributions are vectors, no network is trained.

``game`` derives and solves the players' best responses, ``play`` lets them answer each other, ``prior`` adds the
learned prior as third player, ``experiment`` runs all of it and judges the papers' statements.
"""
