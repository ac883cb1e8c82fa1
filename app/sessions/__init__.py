"""Who is signed in at the operator's page."""
