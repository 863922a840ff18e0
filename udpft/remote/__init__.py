"""Remote shells: a far end that ssh, docker exec or kubectl exec starts, for one session."""
