"""Programs that `gpuctl verify-gpus` runs inside pods."""
