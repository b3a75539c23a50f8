module incident-operator.dev/demo

go 1.22
