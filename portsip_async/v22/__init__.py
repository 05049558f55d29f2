"""The generation v22 of the PortSIP API: its operations, models, client and resources."""
