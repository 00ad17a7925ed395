"""Deployment to hosts: units, manifests, jobs, and the image."""
