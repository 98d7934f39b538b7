"""occs: Oracle Container Cloud Service: the client of its REST API, and an emulator of it for one machine."""
