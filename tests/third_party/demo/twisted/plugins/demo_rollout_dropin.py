from demo_rollout.header import HeaderPlugin
from demo_rollout.memory import MemoryPlugin

header = HeaderPlugin()
memory = MemoryPlugin()
