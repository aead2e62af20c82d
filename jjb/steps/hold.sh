cd-hold --timeout 120
