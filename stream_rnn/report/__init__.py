"""A model's report: what is measured, what is drawn of it, and the page that shows both."""
