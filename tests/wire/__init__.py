"""What goes over the wire: real requests of the real SDKs, to the embedded vendors or to a recorder on this machine."""
