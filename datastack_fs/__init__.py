"""Any dataset, in any store, through one iterator."""
