"""The compiled step: C text written for one small chain network, built by the system's compiler, kept and loaded."""
