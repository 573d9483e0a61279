"""Bulk mail: a template, its recipients, and a campaign that sends each of them a message of their own."""
