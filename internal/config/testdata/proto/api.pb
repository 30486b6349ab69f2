
ÿ
google/protobuf/timestamp.protogoogle.protobuf";
	Timestamp
seconds (Rseconds
nanos (RnanosB…
com.google.protobufBTimestampProtoPZ2google.golang.org/protobuf/types/known/timestamppbø¢GPBªGoogle.Protobuf.WellKnownTypesbproto3
Ç

test.protoacme.v1google/protobuf/timestamp.proto"M

GetRequest
id (	Rid/
as_of (2.google.protobuf.TimestampRasOf28
Posts/
Get.acme.v1.GetRequest.acme.v1.GetRequestbproto3