"""The classic generation of the PortSIP API: its operations, models, client and resources."""
