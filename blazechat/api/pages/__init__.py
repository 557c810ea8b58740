"""Web pages for people: the page of the server's address, and its documentation."""
