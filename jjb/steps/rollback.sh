helm-rollback --timeout 600
