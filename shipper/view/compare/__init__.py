"""What differs after a change: values of a host, container, unit or image before and after, from stored documents."""
