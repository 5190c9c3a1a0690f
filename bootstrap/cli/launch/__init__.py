"""gpuctl launch: queues, agent and a trial job of W&B Launch."""
