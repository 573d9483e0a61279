"""``mailqueue demo --bulk``: a campaign to tens of thousands through real servers, and an account of every recipient."""
