"""occs.emulator: a local Oracle Container Cloud Service, `twistd occs-emulator`. See docs/occs-emulator.md."""
