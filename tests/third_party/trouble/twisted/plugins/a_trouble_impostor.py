from trouble_rollout import ImpostorPlugin

impostor = ImpostorPlugin()
