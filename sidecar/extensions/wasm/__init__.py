"""What every place shares that a Wasm plugin can stand in: its code, its VM, its life."""
