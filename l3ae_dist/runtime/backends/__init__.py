"""Back ends that run tasks: processes here, an existing scheduler, actors of Ray, this process."""
