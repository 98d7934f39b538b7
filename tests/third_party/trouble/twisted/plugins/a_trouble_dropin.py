from trouble_rollout import RaisingPlugin, UnmakeablePlugin

raising = RaisingPlugin()
unmakeable = UnmakeablePlugin()
