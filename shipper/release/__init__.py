"""Packages for people: wheel, deb, rpm, image, zipapp, with checksums, a bill of materials and provenance."""
