"""Drop-in: the shipped strategies and stores, one instance each. Imports nothing heavy: every `twistd` reads it."""
