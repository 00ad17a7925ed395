"""All datasets with their fields, and what is rendered from them: templates, names of streams, reference tables."""
