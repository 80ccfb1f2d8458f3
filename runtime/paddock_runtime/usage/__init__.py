"""Showback: what each Model, tenant and namespace has used. Parts add up to the pod's total exactly."""
