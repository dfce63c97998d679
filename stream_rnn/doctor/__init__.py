"""What keeps a daemon from running well here, found by trying it; every finding says what to do."""
