"""Async SDK for the PortSIP PBX REST API."""
