"""What an installation needs of its database, checked, with the statement that mends each fault."""
