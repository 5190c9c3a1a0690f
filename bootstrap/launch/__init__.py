"""W&B Launch: queues, the agent, and a trial job. Called by the command line only."""
