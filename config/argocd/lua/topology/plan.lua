-- The operator says in status.plan what it would do, and does nothing.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["messaging.turnstone.dev/plan"] = "true"
return obj
