-- The operator writes nothing for a paused broker, which serves on.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["messaging.turnstone.dev/paused"] = "true"
return obj
