"""All datasets with their fields, and what is generated from them: templates, stream names, reference tables."""
