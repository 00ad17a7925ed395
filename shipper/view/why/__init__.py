"""Why a host, container or unit is slow, from stored documents: rules and arithmetic over the USE method.

Utilisation, saturation and errors of each resource: https://www.brendangregg.com/usemethod.html.
"""
