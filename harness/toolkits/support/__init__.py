"""What several toolkits need; imported only when one of them works."""
